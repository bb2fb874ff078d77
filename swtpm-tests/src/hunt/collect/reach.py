"""What root can do to a process by system calls that the story's safe Rust does not have.

registers PID ROUNDS FOLDER   stops every thread ROUNDS times and saves its register sets
pageout PID                   pushes every mapping out to swap
descriptors PID FOLDER        takes every descriptor and saves what can be read or mapped of it

Each prints one JSON object. What is saved is in FOLDER, a file each.
"""

import ctypes
import errno
import json
import mmap
import os
import stat
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.syscall.restype = ctypes.c_long

# ptrace(2), elf.h, waitpid(2)
PTRACE_CONT, PTRACE_DETACH = 7, 17
PTRACE_GETREGSET, PTRACE_SEIZE, PTRACE_INTERRUPT = 0x4204, 0x4206, 0x4207
REGISTER_SETS = {"NT_PRSTATUS": 1, "NT_PRFPREG": 2, "NT_X86_XSTATE": 0x202}
WALL = 0x40000000
# asm/unistd.h: the same numbers on x86-64 and AArch64
SYS_PIDFD_OPEN, SYS_PIDFD_GETFD, SYS_PROCESS_MADVISE = 434, 438, 440
MADV_PAGEOUT = 21
# Bytes of a register set (XSAVE with AMX has below 12 KiB), and of a descriptor's content.
SET_MAX, CONTENT_MAX = 16384, 64 << 20


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def call(number, *arguments):
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(argument) for argument in arguments])
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def ptrace(request, thread, address=None, data=None):
    if libc.ptrace(request, thread, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def threads_of(pid):
    return [int(name) for name in os.listdir(f"/proc/{pid}/task")]


def registers(pid, rounds, folder):
    seized, buffer, seen, saved = set(), ctypes.create_string_buffer(SET_MAX), set(), 0
    stops, sets = 0, {name: 0 for name in REGISTER_SETS}

    def stop(thread):
        """Stops a thread; the signal that it was about to get, or None when it has ended."""
        try:
            ptrace(PTRACE_INTERRUPT, thread)
            _, status = os.waitpid(thread, WALL)
        except (ProcessLookupError, ChildProcessError):
            return None
        if not os.WIFSTOPPED(status):
            return None
        # The upper half says whether ptrace stopped it, or a signal of its own.
        return 0 if status >> 16 else os.WSTOPSIG(status)

    for _ in range(rounds):
        try:
            threads = threads_of(pid)
        except FileNotFoundError:
            break
        for thread in threads:
            if thread not in seized:
                try:
                    ptrace(PTRACE_SEIZE, thread)
                except PermissionError:
                    return {"outcome": "refused"}
                except ProcessLookupError:
                    continue
                seized.add(thread)
            signal = stop(thread)
            if signal is None:
                seized.discard(thread)
                continue
            stops += 1
            for name, kind in REGISTER_SETS.items():
                vector = IoVec(ctypes.addressof(buffer), SET_MAX)
                ptrace(PTRACE_GETREGSET, thread, kind, ctypes.addressof(vector))
                content = buffer.raw[: vector.length]
                sets[name] += 1
                if content not in seen:
                    seen.add(content)
                    with open(f"{folder}/{name}", "ab") as file:
                        # Nothing may join the end of one set with the beginning of the next.
                        file.write(content + bytes(64))
                    saved += 1
            ptrace(PTRACE_CONT, thread, None, signal)
    for thread in seized:
        signal = stop(thread)
        if signal is not None:
            ptrace(PTRACE_DETACH, thread, None, signal)
    return {"outcome": "sampled", "stops": stops, "sets": sets, "different": saved}


def pageout(pid):
    process = call(SYS_PIDFD_OPEN, pid, 0)
    out, refused = 0, 0
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            start, end = (int(text, 16) for text in line.split()[0].split("-"))
            if start >= 1 << 63:
                continue
            vector = IoVec(start, end - start)
            try:
                out += call(SYS_PROCESS_MADVISE, process, ctypes.addressof(vector), 1, MADV_PAGEOUT, 0)
            except OSError:
                refused += 1
    return {"advised": out, "refused": refused}


def content_of(descriptor):
    """What read and mmap give of a descriptor, each or None."""
    got = []
    try:
        got.append(os.pread(descriptor, CONTENT_MAX, 0))
    except OSError:
        got.append(None)
    try:
        length = os.fstat(descriptor).st_size or mmap.PAGESIZE
        with mmap.mmap(descriptor, min(length, CONTENT_MAX), mmap.MAP_SHARED, mmap.PROT_READ) as mapped:
            # Reading beyond a file's end is a fault that kills; an empty one is not read.
            got.append(mapped[:] if os.fstat(descriptor).st_size else None)
    except (OSError, ValueError):
        got.append(None)
    return got


def descriptors(pid, folder):
    process, taken = call(SYS_PIDFD_OPEN, pid, 0), []

    def take(way, name, path, open_it):
        entry = {"way": way, "name": name, "target": "", "opened": False, "kind": "", "saved": []}
        try:
            entry["target"] = os.readlink(path)
        except OSError:
            pass
        try:
            descriptor = open_it()
        except OSError as error:
            entry["error"] = errno.errorcode.get(error.errno, str(error.errno))
            taken.append(entry)
            return
        entry["opened"] = True
        mode = os.fstat(descriptor).st_mode
        kinds = (stat.S_ISREG, stat.S_ISDIR, stat.S_ISCHR, stat.S_ISFIFO, stat.S_ISSOCK)
        entry["kind"] = next((kind.__name__[4:].lower() for kind in kinds if kind(mode)), "other")
        for which, content in zip(("read", "mapped"), content_of(descriptor)):
            if content is not None:
                file = f"{way}-{name}-{which}"
                with open(f"{folder}/{file}", "wb") as out:
                    out.write(content)
                entry["saved"].append(file)
        os.close(descriptor)
        taken.append(entry)

    for name in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{name}"
        take("pidfd_getfd", name, path, lambda: call(SYS_PIDFD_GETFD, process, int(name), 0))
        take("fd", name, path, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY))
    for name in os.listdir(f"/proc/{pid}/map_files"):
        path = f"/proc/{pid}/map_files/{name}"
        try:
            target = os.readlink(path)
        except OSError:
            target = ""
        # A file that still has its name is there for everybody: the program and its libraries.
        if not (target.startswith("/") and os.path.exists(target)):
            take("map_files", name, path, lambda: os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    return {"taken": taken}


verb, pid, rest = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
if verb == "registers":
    answer = registers(pid, int(rest[0]), rest[1])
elif verb == "pageout":
    answer = pageout(pid)
else:
    answer = descriptors(pid, rest[0])
print(json.dumps(answer))
