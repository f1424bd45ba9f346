"""SynDE: agents' execution logs go in, a better agent comes out. Import submodules directly."""

__version__ = "0.1.0"
