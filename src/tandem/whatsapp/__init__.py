"""The only room that knows the WhatsApp library: device hosts, the link to them, and decoding."""
