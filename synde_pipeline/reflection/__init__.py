"""One trajectory -> one reflection, reading nothing else."""
