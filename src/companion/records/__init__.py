"""What happened: every exchange, its tries, its headers and bodies, written down beside the way and never on it.

    recorder.py   hears the news on the event loop and queues them: nothing else happens there
    tape.py       what an answer was, piece by piece with times; given to the queue in parts of 32 KiB
    jobs.py       the thread's work: turns a batch of news into rows, one transaction each
    mask.py       takes credentials out of all that is to be stored
    cut.py        finds what of a body was there in the body before it: the n-th turn costs only what is new
    contents.py   stores headers and bodies as recipes of shared pieces; reads them back, byte for byte
    database.py   one SQLite file: opened, checked, set aside when it is damaged, brought up to date
    retention.py  deletes by age and size in small steps between batches, and gives the disk its space back
    store.py      all of these as one thing
    schema.py     the tables (SQLAlchemy Core); schema.sql makes a fresh file, migrations/ change old ones
    queries.py    details for the API and `companion logs`, lists by lists.py; export.py packs them

Two rules hold it together. The request path does no work for the records: it hands over what it has anyway, and what
the thread cannot take in time is dropped, bodies first. And nothing is stored that was not masked before.

SQLAlchemy is for whoever reads (queries, migrations): the proxy writes by the standard library alone, because importing
SQLAlchemy takes half a second and 18 MB.
"""
