"""`synde bench`: SynDE against its peers on the same work, interleaved, each contestant in a process of its own."""
