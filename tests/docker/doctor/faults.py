"""All faults by name, in the order in which they are put in."""

from tests.docker.doctor import faults_of_ports, faults_of_programs
from tests.docker.doctor.making import FAULTS, Fault

__all__ = ["FAULTS", "Fault", "faults_of_ports", "faults_of_programs"]
