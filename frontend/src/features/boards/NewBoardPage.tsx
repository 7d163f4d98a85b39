export function NewBoardPage() {
  return null;
}
