"""One file per native log format; `registry` detects which one a file is in."""
