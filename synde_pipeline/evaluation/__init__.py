"""Base and merged models -> four arms on `report` tasks -> eval reports."""
