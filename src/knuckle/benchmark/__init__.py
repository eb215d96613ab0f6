"""How long prediction takes on this machine, stage by stage: `knuckle benchmark`.

`stages` times one loaded model, `child` does so in a process of its own, `run` goes through models, engines and numbers
of threads, `pictures` makes photos where none are given, and `machine` says what it ran on.
"""
