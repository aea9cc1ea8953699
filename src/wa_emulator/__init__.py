"""A WhatsApp server for loopback, speaking the real wire protocol."""
