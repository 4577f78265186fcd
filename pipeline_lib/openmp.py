"""How OpenMP's threads wait for each other: asleep, not spinning. Imported before torch, which reads it once.

By default libgomp's threads spin while they wait. That gains a few percent on an idle machine and is ruinous beside
any other busy process (the loader's own workers, a second experiment, a colleague), because they spin on the very core
that the thread they wait for needs. On 2 cores, a step that takes 84 ms alone: beside four busy processes 1,300 to
2,700 ms spinning, 145 to 155 ms asleep; alone, asleep, 88 ms.
"""

import os

# A value in the user's environment wins.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
