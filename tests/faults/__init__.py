"""Trials that break something on purpose: files, disks, streams, processes, environments.

Each module but the test holds the trials of one subject as ``KINDS``. A few of each run in the
default tests, more in ``make slow``, and all of them in ``benchmarks/faults.py``, which counts them
in docs/reliability.md.
"""
