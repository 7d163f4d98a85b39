import { queryOptions } from "@tanstack/react-query";
import { api, body } from "./http";
import type { Benchmark, BenchmarkDetail, NewBenchmark, Page, Scores } from "./types";

export const benchmarksQuery = (org: string) =>
  queryOptions({
    queryKey: ["benchmarks", org],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/benchmarks", { params: { query: { org } }, signal })) as Promise<Page<Benchmark>>,
  });

/** Methods over several leaderboards; `method` is the path of the spec by which they are told apart. */
export const scoresQuery = (org: string, boards: readonly string[], method: string) =>
  queryOptions({
    queryKey: ["scores", org, boards, method],
    queryFn: ({ signal }) =>
      body<Scores>(
        api.GET("/api/v1/benchmark-scores", {
          params: { query: { org, benchmark: [...boards], method } },
          signal,
        }),
      ),
  });

export const benchmarkQuery = (benchmark: string) =>
  queryOptions({
    queryKey: ["benchmark", benchmark],
    queryFn: ({ signal }) =>
      body(
        api.GET("/api/v1/benchmarks/{benchmark}", { params: { path: { benchmark } }, signal }),
      ) as Promise<BenchmarkDetail>,
  });

export async function createBenchmark(org: string, benchmark: NewBenchmark): Promise<Benchmark> {
  return (await body(
    api.POST("/api/v1/benchmarks", { params: { query: { org } }, body: benchmark }),
  )) as Benchmark;
}

export async function deleteBenchmark(benchmark: string): Promise<void> {
  await api.DELETE("/api/v1/benchmarks/{benchmark}", { params: { path: { benchmark } } });
}
