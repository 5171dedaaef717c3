"""/repairs: what upstreams do not understand, learnt from their refusals, and applied to every request since."""
