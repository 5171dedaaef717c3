"""The configuration: one YAML file, read whole, judged whole, and taken over whole or not at all.

source      YAML text → plain data, and in which line each value stands
models      plain data → frozen Settings; the models are schema, defaults and documentation in one
problems    what the models refuse → every problem with its place, its line and the way out
secrets     `${NAME}`, `file:` and `keyring:` → credentials, or the reason why there is none
file        finds the file and does all of the above; writes the first one (template)
watch       does it again when the file changes
edit        the program's own edits: made by `editing`, judged first; what was before is kept by history
masked      the data and the text without secrets, and back
"""
