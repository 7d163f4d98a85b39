import { queryOptions } from "@tanstack/react-query";
import { api, body } from "./http";
import type { Benchmark, BenchmarkChange, BenchmarkDetail, NewBenchmark, Page, Scores } from "./types";

export const benchmarksQuery = (org: string) =>
  queryOptions({
    queryKey: ["benchmarks", org],
    queryFn: ({ signal }) =>
      body(api.GET("/api/v1/benchmarks", { params: { query: { org } }, signal })) as Promise<Page<Benchmark>>,
  });

/** Methods over several leaderboards; `method` is the path of the spec by which they are told apart, `reference` one of them. */
export const scoresQuery = (org: string, boards: readonly string[], method: string, reference: string) =>
  queryOptions({
    queryKey: ["scores", org, boards, method, reference],
    queryFn: ({ signal }) =>
      body<Scores>(
        api.GET("/api/v1/benchmark-scores", {
          params: {
            query: { org, benchmark: [...boards], method, ...(reference === "" ? {} : { reference }) },
          },
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

export async function changeBenchmark(benchmark: string, change: BenchmarkChange): Promise<void> {
  await body(api.PATCH("/api/v1/benchmarks/{benchmark}", { params: { path: { benchmark } }, body: change }));
}

export async function deleteBenchmark(benchmark: string): Promise<void> {
  await api.DELETE("/api/v1/benchmarks/{benchmark}", { params: { path: { benchmark } } });
}
