"""Input for readers of files, made up by hypothesis from what is valid."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any


def mutations(seeds: Sequence[bytes], tokens: Sequence[bytes]) -> Any:
    """Return a strategy of bytes: a seed with parts cut, doubled, replaced; or tokens strung together."""
    from hypothesis import strategies as st

    pieces = [
        *tokens,
        b"\n",
        b"\r",
        b"\0",
        b"\xff",
        b"\xef\xbb\xbf",
        b'"',
        b"'",
        b",",
        b"\t",
        b"|",
        b" ",
        b"1e999",
        b"NaN",
        b"-1",
        b"\xed\xa0\x80",
        "λ".encode(),
        "\u2028".encode(),
        b"\x1b[31m",
        b"[" * 2000,
        b"9" * 5000,
        b"/",
        b"..",
        b"a" * 5000,
    ]
    strung = st.lists(st.sampled_from(pieces) | st.binary(max_size=6), max_size=25).map(b"".join)

    @st.composite
    def mutated(draw: Any) -> bytes:
        content = draw(st.sampled_from(list(seeds)))
        for _ in range(draw(st.integers(1, 4))):
            first = draw(st.integers(0, len(content)))
            last = draw(st.integers(first, min(len(content), first + 40)))
            content = content[:first] + draw(st.sampled_from([b"", *pieces]) | st.binary(max_size=4)) + content[last:]
        return bytes(content)

    return strung | mutated()


def as_json(seeds: Sequence[Any]) -> Any:
    """Return a strategy of JSON texts: a seed with values replaced by anything."""
    from hypothesis import strategies as st

    leaf = (
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=8)
        | st.sampled_from([2**63, 10**400, -1, "\x1b[31m"])
    )
    tree = st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
        max_leaves=8,
    )

    @st.composite
    def changed(draw: Any) -> bytes:
        content = json.loads(json.dumps(draw(st.sampled_from(list(seeds)))))
        for _ in range(draw(st.integers(1, 3))):
            node, key = content, None
            for _ in range(draw(st.integers(1, 4))):
                keys = (
                    list(node) if isinstance(node, dict) else list(range(len(node))) if isinstance(node, list) else []
                )
                if not keys:
                    break
                above, key = node, draw(st.sampled_from(keys))
                node = above[key]
            if key is not None:
                if draw(st.booleans()):
                    above[key] = draw(tree)
                else:
                    del above[key]
        return json.dumps(content).encode("utf-8", "surrogatepass")

    return changed() | tree.map(lambda value: json.dumps(value).encode("utf-8", "surrogatepass"))


def as_safetensors(content: bytes) -> Any:
    from hypothesis import strategies as st

    size = struct.unpack("<Q", content[:8])[0]
    head = json.loads(content[8 : 8 + size])
    kept = {name: head[name] for name in list(head)[:4]}
    by_json = as_json([kept]).map(lambda text: struct.pack("<Q", len(text)) + text + bytes(4096))
    claims = st.integers(0, 2**64 - 1).map(lambda claimed: struct.pack("<Q", claimed) + content[8:2000])
    return by_json | claims | mutations([content[:4000]], [b"F32", b"shape", b"data_offsets"])
