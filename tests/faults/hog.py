#!/usr/bin/python3
"""Takes a gigabyte, which is more than its container may have."""

blocks = [bytearray(2**24) for _ in range(64)]
