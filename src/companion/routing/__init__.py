"""Who should answer? Facts of a request and frozen views of candidates become an ordered plan that explains itself."""
