"""All that is said to Redis: keys, codec, scripts, connections, and what they add up to."""
