"""The verbs of the command line, one per file. Each has ``main(argv) -> exit code`` and imports torch late."""

VERBS = {
    "run": "do one run, a sweep (--multirun) or a study (experiment=NAME)",
    "inspect": "show what would be merged: layers, pairs, λ, warnings; reads no data",
    "merge": "write a merged model as a plain checkpoint; reads no data",
    "score": "score the saved predictions of a run again, without the model",
    "ls": "list finished runs, one per line",
    "list": "list what can be chosen: models, data, methods and more",
    "report": "make tables and a report page from finished runs",
    "compare": "compare two finished runs on the same examples",
    "export": "export the model of a finished run, with a model card",
    "push": "export a finished run and upload it to the hub",
    "cache": "show or clear the cache that runs share",
}
