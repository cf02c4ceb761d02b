export { priceTable, type PriceName } from '../src/engines/aws/price-table.ts';
