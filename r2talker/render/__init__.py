"""Avatar state + camera + condition -> picture; nothing about files or clocks."""
