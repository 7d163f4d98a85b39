import { QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "react-router";
import { ApiError, whenSignedOut } from "@/api/http";
import { Toasts } from "@/ui/Toasts";
import { router } from "./routes";

const client = new QueryClient({
  queryCache: new QueryCache(),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      refetchOnWindowFocus: true,
      retry: (failures, error) =>
        failures < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
    },
  },
});

/** A session that has ended leads to sign-in and back to the same view. */
whenSignedOut(() => {
  const { pathname, search } = router.state.location;
  if (pathname === "/signin") return;
  client.clear();
  void router.navigate(`/signin?next=${encodeURIComponent(pathname + search)}`);
});

export function App() {
  return (
    <QueryClientProvider client={client}>
      <RouterProvider router={router} />
      <Toasts />
    </QueryClientProvider>
  );
}
