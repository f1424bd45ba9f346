"""Benchmarks of others, and environments of users: files of tasks, four arms, generated code in a jail.

`jail` and `trial` are scripts for the other side of the wall; `sandbox` starts them. `environments` is what a user
writes, `actors` what acts in it, `runner` the four arms. `humaneval`, `webarena` and `swebench` read those benchmarks.
"""
