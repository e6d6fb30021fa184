"""placeholder"""
import os
def usable_cores(environment=os.environ): return min(2, int(environment.get("OMP_NUM_THREADS", 64)))
def threads_of(config): return 1
def cores_of_network(config): return 1
