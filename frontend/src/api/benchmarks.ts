import { queryOptions } from "@tanstack/react-query";
import { getJson, send } from "./http";
import type { Benchmark, BenchmarkDetail, NewBenchmark, Page } from "./types";

export const benchmarksQuery = queryOptions({
  queryKey: ["benchmarks"],
  queryFn: ({ signal }) => getJson<Page<Benchmark>>("/benchmarks", { limit: 200 }, signal),
});

export const benchmarkQuery = (id: string) =>
  queryOptions({
    queryKey: ["benchmark", id],
    queryFn: ({ signal }) => getJson<BenchmarkDetail>(`/benchmarks/${id}`, undefined, signal),
  });

export async function createBenchmark(benchmark: NewBenchmark): Promise<Benchmark> {
  return send<Benchmark>("POST", "/benchmarks", benchmark);
}

export async function deleteBenchmark(id: string): Promise<null> {
  return send<null>("DELETE", `/benchmarks/${id}`);
}
