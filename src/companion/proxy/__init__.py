"""The data plane. Read `pipeline` first; the rest is what its rooms need.

server, connection, incoming, admission, guard, http_port   HTTP/1.1 in, within limits; `port` is the door to the rest
routes                                                      which path is whose
pipeline, exchange                                          the nine rooms, and what is known about one request
attempt                                                     rings of tries; what a fault means is in errors.FAULTS
gate, relay, aftergate, heartbeat, flow                     streams: held back, passed on, ended well when they break
whole, models, other                                        everything that is not a stream of a message
failed                                                      the one honest answer when nobody gave one
"""
