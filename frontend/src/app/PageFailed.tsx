import { useRouteError } from "react-router";
import { Button } from "@/ui/Button";
import { ErrorNote } from "@/ui/Notes";

/** A page that broke, or a chunk that is gone because a newer version was deployed. */
export function PageFailed() {
  const error = useRouteError();
  const gone = error instanceof Error && /dynamically imported|module script/i.test(error.message);
  return (
    <div className="page-body">
      {gone ? (
        <ErrorNote error={new Error("This page has a newer version. Reload to get it; drafts are kept.")} />
      ) : (
        <ErrorNote error={error} />
      )}
      <div className="row">
        <Button onClick={() => location.reload()}>Reload</Button>
      </div>
    </div>
  );
}
