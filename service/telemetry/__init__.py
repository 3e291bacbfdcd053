from service.telemetry import multiprocess

# Every import of prometheus_client by this package comes after this.
multiprocess.ignore_blank()
