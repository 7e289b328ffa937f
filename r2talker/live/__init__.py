"""An avatar that speaks in a browser: session (pure state machine), performer, stage, server, page."""
