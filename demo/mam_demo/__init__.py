"""The demo's models and recordings, as data: `asset:NAME` in a configuration of mam is `NAME` in this folder."""
