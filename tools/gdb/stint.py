"""gdb commands for a running Stint kernel: `tasks`, `runq`, `preempt`. `make debug` loads this file.

Everything is found through the debug information of the image, by the names in the table below: when a
name in the kernel changes, change it here and nowhere else. A name that is not found costs its column, not
the command. The guest is only read. Values are true while it is stopped; a task that runs on another CPU at
that moment shows what it had when it was switched in.
"""

import gdb

# --- names of the kernel -----------------------------------------------------------------------------------

TASK_TYPE = "stint::task::Task"
TASK_LIST = "stint::task::list::TASKS"  # list head, possibly behind a lock
TASK_LINK = "links"  # the member of Task by which it is on that list
RUN_QUEUE = "stint::sched::core::RUNQUEUES"  # per CPU: the instance is at its address + tpidr_el1

# Members of Task, as paths; several candidates are tried in order.
ID = ["id"]
NAME = ["name"]
STATE = ["state"]
PRIORITY = ["sched.prio"]
POLICY = ["sched.policy"]
VRUNTIME = ["sched.se.vruntime"]
ON_RQ = ["sched.on_rq"]
SAVED_PC = ["arch.context.pc"]
COUNT = ["arch.thread_info.preempt.count", "arch.thread_info.count"]
NEED_RESCHED = ["arch.thread_info.preempt.need_resched", "arch.thread_info.need_resched"]
FLAGS = ["arch.thread_info.flags"]

# Where the word is if there is no debug information for Task: arch/aarch64/src/thread_info.rs.
FLAGS_OFFSET, COUNT_OFFSET, NEED_RESCHED_OFFSET = 0, 8, 12
TIF_NEED_RESCHED = 1 << 1

# Fields of the count (src/preempt.rs): mask, and what one unit of it is.
COUNT_FIELDS = [
    ("preempt_disable, deep", 0x0000_00FF, 0),
    ("softirq", 0x0000_FF00, 8),
    ("hardirq", 0x000F_0000, 16),
    ("nmi", 0x00F0_0000, 20),
]
STATES = [(0x1, "S"), (0x2, "D"), (0x80, "X"), (0x800, "N")]  # asleep, asleep for good, dead, new
FIRST_FAIR_PRIORITY = 100

# Wrappers that hold one value and mean nothing by themselves: Cell, UnsafeCell, atomics, NonNull, locks.
WRAPPED = ["value", "v", "data", "pointer", "inner", "__0"]
MOST_TASKS = 10000  # a broken list must not hang the debugger


# --- looking at Rust values --------------------------------------------------------------------------------


class NotFound(Exception):
    """A name of the table is not in the image."""


def fields(value):
    kind = value.type.strip_typedefs()
    if kind.code not in (gdb.TYPE_CODE_STRUCT, gdb.TYPE_CODE_UNION):
        return []
    return [f.name for f in kind.fields() if f.name]


def peel(value):
    """Takes wrappers off until something with a meaning of its own is left."""
    for _ in range(8):
        names = fields(value)
        inner = next((n for n in WRAPPED if n in names), None)
        if inner is None and len(names) == 1 and value.type.name and "::" in value.type.name:
            inner = names[0] if names[0] in WRAPPED else None
        if inner is None:
            break
        value = value[inner]
    return value


def member(value, paths):
    """The first of the paths that exists below value, without its wrappers; None if there is none."""
    for path in paths:
        here = value
        for name in path.split("."):
            here = here if name in fields(here) else peel(here)
            if name not in fields(here):
                break
            here = here[name]
        else:
            return peel(here)
    return None


def number(value, default=None):
    try:
        return int(value)
    except (TypeError, ValueError, gdb.error):
        return default


def word(text):
    """The last segment of an enum's value: stint::sched::prio::Policy::Fifo gives Fifo."""
    return str(text).split("::")[-1].rstrip(")")


def text(value):
    """An array of bytes ending in NUL."""
    if value is None:
        return "?"
    try:
        low, high = value.type.range()
        raw = bytes(int(value[i]) & 0xFF for i in range(low, high + 1))
        return raw.split(b"\0")[0].decode("utf-8", "replace")
    except (gdb.error, TypeError, RuntimeError):
        return word(value)


def static(name):
    """A static variable by its Rust path."""
    for lookup in (gdb.lookup_static_symbol, gdb.lookup_global_symbol):
        symbol = lookup(name)
        if symbol is not None:
            return symbol.value()
    try:
        return gdb.parse_and_eval("'%s'" % name)
    except gdb.error:
        raise NotFound("`%s` is not in this image: was it renamed? The names are in tools/gdb/stint.py" % name)


def task_type():
    try:
        return gdb.lookup_type(TASK_TYPE)
    except gdb.error:
        raise NotFound("the type `%s` is not in this image: was it renamed? The names are in tools/gdb/stint.py" % TASK_TYPE)


def register(name):
    value = number(gdb.parse_and_eval("$" + name))
    if value is None:
        raise NotFound("this target has no register %s: is it QEMU, and is the guest AArch64?" % name)
    return value & (2**64 - 1)


def read(address, size):
    try:
        raw = gdb.selected_inferior().read_memory(address, size)
    except gdb.MemoryError:
        raise NotFound(
            "nothing is mapped at %#x: has the kernel its tables yet? `break stint::start::start_kernel`, `continue`" % address
        )
    return int.from_bytes(bytes(raw), "little")


def function_at(address):
    block = gdb.block_for_pc(address)
    while block is not None and block.function is None:
        block = block.superblock
    if block is not None:
        return block.function.name
    found = gdb.execute("info symbol %#x" % address, to_string=True).split(" in section")[0].strip()
    return "%#x" % address if found.startswith("No symbol") else found


# --- tasks -------------------------------------------------------------------------------------------------


def current_address():
    address = register("SP_EL0")
    if address == 0:
        raise NotFound("sp_el0 is 0: no task runs yet. `break stint::start::start_kernel`, `continue`")
    return address


def task_at(address):
    return gdb.Value(address).cast(task_type().pointer()).dereference()


def link_offset(kind, name):
    for field in kind.strip_typedefs().fields():
        if field.name == name:
            return field.bitpos // 8
    raise NotFound("%s has no member `%s`; the names are in tools/gdb/stint.py" % (kind.name, name))


def pointer(value):
    """The address in a pointer, behind whatever wraps it."""
    return number(peel(value), 0)


def all_tasks():
    """Every task of the kernel's list: a ring of links, to whose first the head points."""
    offset = link_offset(task_type(), TASK_LINK)
    head = peel(static(TASK_LIST))
    first = 0
    for name in ("first", "head", "next"):
        found = member(head, [name])
        if found is not None:
            first = pointer(found)
            break
    else:
        first = pointer(head)
    link_type = task_type()[TASK_LINK].type
    tasks, link = [], first
    while link and len(tasks) < MOST_TASKS:
        tasks.append(task_at(link - offset))
        following = member(gdb.Value(link).cast(link_type.pointer()).dereference(), ["next"])
        link = pointer(following) if following is not None else 0
        if link == first:
            break
    return tasks


def state_of(task, running):
    bits = number(member(task, STATE))
    if bits is None:
        return "?"
    if bits == 0:
        return "R+" if running else "R"
    return "".join(letter for bit, letter in STATES if bits & bit) or hex(bits)


def describe(task, current):
    address = int(task.address)
    running = address == current
    count, need = number(member(task, COUNT), 0), number(member(task, NEED_RESCHED), 1)
    pc = register("pc") if running else number(member(task, SAVED_PC), 0)
    return [
        "*" if running else "",
        "%#x" % address,
        str(number(member(task, ID), "?")),
        text(member(task, NAME)),
        state_of(task, running),
        word(member(task, POLICY)),
        str(number(member(task, PRIORITY), "?")),
        "%#x%s" % (count, "!" if need == 0 else ""),
        function_at(pc) if pc else "",
    ]


COLUMNS = ["", "task", "id", "name", "state", "policy", "prio", "count", "at"]


def table(head, rows):
    widths = [max(len(row[i]) for row in [head] + rows) for i in range(len(head))]
    for row in [head] + rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


class Command(gdb.Command):
    """Prints what is missing instead of a Python trace."""

    def __init__(self, name):
        super().__init__(name, gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        try:
            self.show(argument.strip())
        except (NotFound, gdb.error, gdb.MemoryError) as error:
            print(error)


class Tasks(Command):
    """tasks: every task, with its state, priority, preemption count (! = a switch is wanted) and place."""

    def show(self, argument):
        current = current_address()
        tasks = all_tasks()
        table(COLUMNS, [describe(task, current) for task in tasks])
        print("%d tasks; state R ready, R+ running, S and D asleep, N new, X dead" % len(tasks))


class RunQueue(Command):
    """runq: this CPU's run queue: its figures, and who is on it, in the order in which they would run."""

    def show(self, argument):
        offset = register("TPIDR_EL1")
        try:
            variable = static(RUN_QUEUE)
            here = int(variable.address) + offset
            queue = gdb.Value(here).cast(variable.type.pointer()).dereference()
            print("run queue at %#x (per-CPU offset %#x)" % (here, offset))
            self.figures(peel(queue), "  ")
        except (NotFound, gdb.error) as error:
            print(error)
        current = current_address()
        queued = [task for task in all_tasks() if self.is_queued(task)]
        queued.sort(key=self.order)
        table(
            COLUMNS + ["vruntime"],
            [describe(task, current) + [str(number(member(task, VRUNTIME), ""))] for task in queued],
        )

    @staticmethod
    def is_queued(task):
        value = member(task, ON_RQ)
        return value is not None and word(value) not in ("No", "0", "false")

    @staticmethod
    def order(task):
        priority = number(member(task, PRIORITY), FIRST_FAIR_PRIORITY)
        if priority < FIRST_FAIR_PRIORITY:
            return (priority, 0)
        return (FIRST_FAIR_PRIORITY, number(member(task, VRUNTIME), 0))

    def figures(self, value, indent, depth=0):
        """Numbers and one level of structures; tables and links are left out."""
        for name in fields(value):
            part = peel(value[name])
            code = part.type.strip_typedefs().code
            if code in (gdb.TYPE_CODE_INT, gdb.TYPE_CODE_BOOL, gdb.TYPE_CODE_ENUM):
                print("%s%s = %s" % (indent, name, word(part)))
            elif code == gdb.TYPE_CODE_STRUCT and depth < 2 and len(fields(part)) > 1:
                print("%s%s:" % (indent, name))
                self.figures(part, indent + "  ", depth + 1)


class Preempt(Command):
    """preempt [id | name]: the preempt word of the running task, or of another one, decoded."""

    def show(self, argument):
        address = current_address()
        title = "running task"
        if argument:
            address, title = self.find(argument)
        try:
            task = task_at(address)
            title = "%s, `%s`" % (title, text(member(task, NAME)))
            count, need, flags = (number(member(task, path)) for path in (COUNT, NEED_RESCHED, FLAGS))
        except NotFound:
            count = need = flags = None
        if count is None or need is None:
            count, need = read(address + COUNT_OFFSET, 4), read(address + NEED_RESCHED_OFFSET, 4)
        if flags is None:
            flags = read(address + FLAGS_OFFSET, 8)
        print("preempt word of the %s at %#x: %#018x" % (title, address, need << 32 | count))
        print("  count         %#010x" % count)
        for name, mask, shift in COUNT_FIELDS:
            print("    %-24s %d" % (name, (count & mask) >> shift))
        left = count & ~sum(mask for _, mask, _ in COUNT_FIELDS)
        if left:
            print("    bits that have no meaning: %#x; the word is damaged" % left)
        print("  need_resched  %d: %s" % (need, "a switch is wanted" if need == 0 else "no switch is wanted") + " (inverted)")
        remote = bool(flags & TIF_NEED_RESCHED)
        print("  TIF_NEED_RESCHED %s%s" % ("set" if remote else "clear", "" if remote == (need == 0) else ": not folded yet"))
        if count == 0 and need == 0:
            print("  → zero: preempted at the next preemption point")
        elif count == 0:
            print("  → preemptible, and nothing asks for it")
        else:
            print("  → not preemptible" + (", though a switch is wanted" if need == 0 else ""))

    @staticmethod
    def find(wanted):
        for task in all_tasks():
            if wanted in (str(number(member(task, ID))), text(member(task, NAME))):
                return int(task.address), "task"
        raise NotFound("no task has the id or the name `%s`; `tasks` lists them" % wanted)


# Paths with `::` are Rust's; in assembly gdb would otherwise look them up as C.
gdb.execute("set language rust")
Tasks("tasks")
RunQueue("runq")
Preempt("preempt")


def leave(event):
    """QEMU ends with gdb, also where the system cannot see to that."""
    try:
        gdb.execute("kill", to_string=True)
    except gdb.error:
        pass


if hasattr(gdb.events, "gdb_exiting"):
    gdb.events.gdb_exiting.connect(leave)
