"""The scripts of the stages, each run by DVC as `python -m stages.NAME`."""

# Before the libraries of any stage: Ctrl-C during their import is one line.
import pipeline_lib.execution.threads  # noqa: F401
