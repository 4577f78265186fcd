"""How the process of a stage behaves; imported before torch, which reads the first of it once.

**Waiting threads.** By default libgomp's threads spin without end, on the very core that the thread they wait for needs
when the machine has other work: the loader's processes, a second experiment, a colleague's. Measured on 2 cores, a step
of the sample's towers: alone 62 to 77 ms either way; two runs side by side 350 ms each, with this bound 190; on the
machine at a load of 3 to 5, 900 to 2,700 ms, with it 350 to 630. Threads that sleep at once (OMP_WAIT_POLICY=passive)
took 145 there, and a tenth more alone.

**Cyclic garbage.** Importing torch, timm and transformers makes millions of objects that stay, and Python looks through
them for cycles again and again. It now looks when so many new ones are there, not at every 700: of four runs of embed's
imports the least took 6.1 seconds of processor before, 5.5 with it, 5.1 without any looking.
"""

import gc
import os

SPINS = "2000"
NEW_OBJECTS = 20_000

# What the user's environment says of waiting wins.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = SPINS
gc.set_threshold(NEW_OBJECTS)
