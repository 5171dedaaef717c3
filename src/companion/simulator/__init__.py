"""A scripted upstream that breaks on command, for tests, drills and demonstrations.

    async with Simulator() as sim:          sim.url, sim.ledger
        sim.queue(status(529), cut("after_text", "fin"))

Without a queued reply it leads conversations: `[[script:tools dir=/tmp/x]]` in a user's text makes it call tools turn
by turn (scripts.py), whatever endpoint had answered the turns before, for it remembers nothing. What it was asked
stands in the ledger, byte for byte. It listens on 127.0.0.1 only, and never speaks to anybody by itself.

    server.py        Simulator: the doors, the ledger, and which reply a request gets
    connection.py    requests come out of llhttp; a client that leaves is seen at once
    wire.py          one answer on its way out, and every way to leave
    conversation.py  what comes next, told from the request alone
    messages.py      one message in both forms, JSON and events
    replies/         the good answer and every fault
"""

from companion.simulator.exchange import Exchange, Reply
from companion.simulator.received import Received
from companion.simulator.server import Simulator

__all__ = ["Exchange", "Received", "Reply", "Simulator"]
