"""Who asks: tokens that are made here, given to people and machines, and known again by their SHA-256."""
