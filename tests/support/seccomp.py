#!/usr/bin/env python3
"""Becomes a program for which some system calls end with an error, as on another kernel or
in a sandbox: seccomp.py ERRNO NUMBER[:FIRST]... -- PROGRAM [ARG]...

NUMBER is that of the call, FIRST the only value of its first argument that counts. What the
program starts inherits it.
"""

import ctypes
import errno
import os
import struct
import sys

ERROR = getattr(errno, sys.argv[1])
END = sys.argv.index("--")
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, ERRNO = 0x7FFF0000, 0x00050000
NUMBER_AT, FIRST_AT = 0, 16
SECCOMP_SET_MODE_FILTER = 1
SYS_SECCOMP = {"x86_64": 317, "aarch64": 277}[os.uname().machine]


def step(code, value, yes=0, no=0):
    return struct.pack("HBBI", code, yes, no, value)


steps = [step(LOAD, NUMBER_AT)]
for word in sys.argv[2:END]:
    number, _, first = word.partition(":")
    if first:
        steps += [
            step(JUMP_IF_EQUAL, int(number), 0, 4),
            step(LOAD, FIRST_AT),
            step(JUMP_IF_EQUAL, int(first), 0, 1),
            step(RETURN, ERRNO | ERROR),
            step(LOAD, NUMBER_AT),
        ]
    else:
        steps += [step(JUMP_IF_EQUAL, int(number), 0, 1), step(RETURN, ERRNO | ERROR)]
steps.append(step(RETURN, ALLOW))


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]


libc = ctypes.CDLL(None, use_errno=True)
program = Program(len(steps), b"".join(steps))
# As root, without no_new_privs: that is for the program to set.
if libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(program)) != 0:
    sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[END + 1], sys.argv[END + 1 :])
