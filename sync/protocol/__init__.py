"""The wire: messages, strict bounded codecs, limits, and the version that pins them."""
