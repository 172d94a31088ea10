"""A run as a process and as a folder.

`loop` trains a network by the chapters' equations, in one process or several, until its time is up or it is interrupted;
it writes a log, checkpoints and a report. `checkpoint` reads and writes these files, `run` loads a run and draws samples
from it, `judge` measures the samples, `plots` draws them.
"""
