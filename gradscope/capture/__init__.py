"""Reading a model while it trains: statistics, stations, and the moments at which each number is right.

The core is a pull (``measure``): it reads the gradients of a fixed, named list on demand. Hooks are thin adapters that
call it at the right moment. Nothing on this path waits for the device; values reach the host when the buffer is flushed.
"""
