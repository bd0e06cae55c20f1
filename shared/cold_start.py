"""Imported by a function before the rest: from here to its first answer nothing is collected.

What is imported stays, but the collector would look through all of it again and again meanwhile, which is a
tenth of a cold start. `wiring` lets it begin.
"""

import gc

gc.disable()
