#!/usr/bin/python3
"""Takes a gigabyte, which is more than its container may have."""

import os

os.write(2, b"hog: here\n")
blocks = [bytearray(2**24) for _ in range(64)]
