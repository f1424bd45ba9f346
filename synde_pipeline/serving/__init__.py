"""Executions in, better answers out: the champion and the memory behind OpenAI's interface, and every answer a log.

`app` is HTTP, `answering` what becomes of one request, `decide` which layer answers it. `local` and `upstream` are who
writes; `engine` is the continuous batch and `weights` the champion on it. `journal` keeps what was answered until
`traces` has made trajectories of it and `filing` has put them into landing. `keys` says who may ask.
"""
