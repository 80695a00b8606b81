"""The verbs of the command line, one per file. Each has ``main(argv) -> exit code`` and imports torch late."""

VERBS = {
    "run": "one run, a sweep (--multirun) or a study (experiment=NAME)",
    "inspect": "what a merge would do: attentions, pairs, λ, warnings; no data",
    "merge": "the merged model as a plain checkpoint, without any data",
    "score": "saved predictions scored again, without a model",
    "ls": "finished runs, one line each",
    "list": "what there is to choose from: models, data, methods and more",
    "report": "finished runs in tables and on one page",
    "compare": "two finished runs over the same examples",
    "export": "a finished run as a plain checkpoint with its card",
    "push": "an exported run, sent to the hub with its card",
    "cache": "what runs share on disk: show it or remove it",
}
