"""The Anthropic protocol without I/O: bytes in, events and bytes out.

sse, anthropic            frames and typed events
grammar, shapes           the tables: the order of events, and what is inside them
progress, validate        one stream on its way to the client, checked and put right
message, request, spans   whole answers, heads of requests, splices
errors, wordings, waits   what upstreams' errors mean; violations are their names for broken answers
"""
