"""Claude Code Companion: a proxy between Claude Code and the places that answer it.

A request's way, from top to bottom; imports go down only.

    cli        the command; app builds every object once and wires them
    proxy      the data plane: server (HTTP in), pipeline (nine rooms), attempt, gate, relay; admin is what people see
    routing    who should answer? Pure functions on frozen views
    upstream   one endpoint: HTTP out, its health, its slots, and what it is sent
    config     one file, read whole and taken over whole
    protocol   the Anthropic protocol as data and state machines, without I/O; net is what both HTTP sides share
    errors     what can go wrong and whose fault it is: the table that everything else asks

News travels downwards (events) to whoever subscribed in app. simulator is a scripted upstream that breaks on command.
"""

__version__ = "0.1.0"
