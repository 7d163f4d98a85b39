import { LinkButton } from "@/ui/Button";
import { EmptyState } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";

export function NotFoundPage() {
  return (
    <PageFrame title="Not found">
      <EmptyState action={<LinkButton to="/">Go to home</LinkButton>}>
        There is nothing at this address, or you may not see it.
      </EmptyState>
    </PageFrame>
  );
}
