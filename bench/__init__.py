"""Side-by-side benchmarks: what the proxy costs, as a ratio to nginx in the same run.

Core 0 has the load generator and the upstream (one small C program, `load.c`), core 1 has one proxy at a time. Every
figure is taken with nginx and with ours in turn, several rounds of it, and the medians count. Absolute figures move
with the machine and its neighbours; ratios and CPU seconds move little.
"""
