"""One endpoint: what it is sent (prepare), how it is reached (transport, pool, connection, response), how it is.

Its health is circuits (circuit), rate-limit clocks and slots (limits), put together per candidate (health);
`endpoint` is the registry that outlives a change of the configuration. `views` is all that routing may know, with the
words in `reasons`; `states` is what people and programs are shown. `probe` brings back what is open; `check` (with
`steps`, `listening`) tests an endpoint on request; both ask by `asking`.
"""
