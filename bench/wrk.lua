-- One line of JSON at the end, in wrk's own units: microseconds.
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('JSON {"requests": %d, "micros": %d, "p50": %d, "p99": %d, "errors": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
