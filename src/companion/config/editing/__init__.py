"""The program's own edits of the file: what did not change keeps its bytes, and comments stay with what they describe.

nodes       YAML text → a tree that knows where each value stands
layout      which lines above, beside and below an entry belong to it
matching    which item of a list has become which
writing     values → YAML text
rewriting   text and the desired data → the new text: splices, and items that are moved as blocks of lines
"""
