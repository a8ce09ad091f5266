"""`deepprune evaluate`: how good judges are, as tables, plots and saved scores."""
