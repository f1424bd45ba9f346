"""Taking something out of a warehouse as if it had never arrived (law 8)."""
